-- Limits of meters' wallets (报警、透支、囤积、合闸允许金额) are written by orders of their own kind.

DO $$
DECLARE
    what record;
BEGIN
    FOR what IN SELECT * FROM (VALUES
        ('orders_kind_check', 'CHECK ((%s) OR kind = ''limits'')'),
        ('orders_of_check', 'CHECK (CASE WHEN kind = ''limits'' THEN meter_id IS NOT NULL ELSE (%s) END)')) AS v (name, becomes)
    LOOP
        EXECUTE (SELECT format('ALTER TABLE orders DROP CONSTRAINT %I, ADD CONSTRAINT %I ', what.name, what.name)
                        || format(what.becomes, pg_get_expr(conbin, conrelid))
                 FROM pg_constraint WHERE conname = what.name AND conrelid = 'orders'::regclass);
    END LOOP;
END $$;

-- two writes to one meter would each be compared with what the other one changes
CREATE UNIQUE INDEX one_open_limits_write ON orders (meter_id) WHERE kind = 'limits' AND is_open;

-- what the meters' limits shall be goes into terminals and meters: who says so stands in the audit
CREATE FUNCTION chain_wallet_rules() RETURNS trigger LANGUAGE plpgsql AS $fn$
BEGIN
    PERFORM audit_add('wallet-rules', '', jsonb_build_object('was', OLD.wallet_rules, 'becomes', NEW.wallet_rules,
                                                             'who', coalesce(nullif(current_setting('headend.who', true), ''), session_user)));
    RETURN NULL;
END
$fn$;
CREATE CONSTRAINT TRIGGER chain_wallet_rules AFTER UPDATE ON cluster DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.wallet_rules IS DISTINCT FROM NEW.wallet_rules) EXECUTE FUNCTION chain_wallet_rules();
