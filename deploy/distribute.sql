-- Spreads the tables over the machines of a Citus cluster, by customer.
--
-- To be run once, on the coordinator, in the database that `ibt db upgrade` has just made, before `ibt load`:
--
--     psql --set ON_ERROR_STOP=1 --single-transaction --file deploy/distribute.sql ibt
--
-- All that belongs to one customer lies on one machine, so that a request and an update stay on it. What every
-- request may need of others, names and rights, is kept on each machine.

CREATE EXTENSION IF NOT EXISTS citus;

SELECT create_reference_table('customer');
SELECT create_reference_table('users');
SELECT create_reference_table('grants');
SELECT create_reference_table('pins');
SELECT create_reference_table('revoked');

SELECT create_distributed_table('customer_state', 'customer_id');
SELECT create_distributed_table('subaccount_version', 'customer_id', colocate_with => 'customer_state');
SELECT create_distributed_table('contract', 'customer_id', colocate_with => 'customer_state');
SELECT create_distributed_table('current_mapping', 'customer_id', colocate_with => 'customer_state');
SELECT create_distributed_table('place', 'customer_id', colocate_with => 'customer_state');
SELECT create_distributed_table('mapping_version', 'customer_id', colocate_with => 'customer_state');
SELECT create_distributed_table('audit', 'customer_id', colocate_with => 'customer_state');
