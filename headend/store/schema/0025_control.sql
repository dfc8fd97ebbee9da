-- Orders that tell a terminal to control load (定值控制) or to keep power (保电).

-- Other files add kinds of their own: what is allowed already stays so.
DO $$
BEGIN
    EXECUTE (SELECT format('ALTER TABLE orders DROP CONSTRAINT orders_kind_check, ADD CONSTRAINT orders_kind_check CHECK ((%s) OR kind = ''control'')',
                           pg_get_expr(conbin, conrelid))
             FROM pg_constraint WHERE conname = 'orders_kind_check' AND conrelid = 'orders'::regclass);
END $$;
