-- What of a loss the network itself explains, and within which limits the loss likely is.

ALTER TABLE loss_result
    ADD COLUMN likely_low      bigint,
    ADD COLUMN likely_high     bigint,
    ADD COLUMN technical       bigint,
    ADD COLUMN technical_error bigint,
    ADD CHECK (num_nonnulls(likely_low, likely_high) IN (0, 2)),
    ADD CHECK (num_nonnulls(technical, technical_error) IN (0, 2));
COMMENT ON COLUMN loss_result.likely_low IS '1e-4 kWh; the truth lies within [likely_low, likely_high] 19 times in 20; NULL: computed before there were any';
COMMENT ON COLUMN loss_result.technical IS '1e-4 kWh, expected from voltages and currents; NULL: they were not measured. What the loss is more than this is unexplained';
COMMENT ON COLUMN loss_result.technical_error IS '1e-4 kWh, its standard error';
