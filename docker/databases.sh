#!/bin/sh
# Creates the users and databases of the server that do not exist yet, and gives every user its password.
set -eu
psql --no-psqlrc --quiet --tuples-only --set ON_ERROR_STOP=1 --dbname postgres <<'SQL'
\getenv mlflow MLFLOW_PASSWORD
\getenv accounts ACCOUNTS_PASSWORD
\getenv optuna OPTUNA_PASSWORD
\getenv dashboard DASHBOARD_PASSWORD
SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY['mlflow', 'accounts', 'optuna', 'dashboard']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE mlflow PASSWORD :'mlflow';
ALTER ROLE accounts PASSWORD :'accounts';
ALTER ROLE optuna PASSWORD :'optuna';
ALTER ROLE dashboard PASSWORD :'dashboard';
SELECT format('CREATE DATABASE %I OWNER %I', name, owner)
FROM (VALUES ('mlflow', 'mlflow'), ('mlflow_accounts', 'accounts'), ('optuna', 'optuna')) AS wanted (name, owner)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec
REVOKE ALL ON DATABASE mlflow, mlflow_accounts, optuna FROM PUBLIC;
GRANT CONNECT ON DATABASE optuna TO dashboard;
\connect optuna
-- The dashboard can look at every search and change none.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO dashboard;
ALTER DEFAULT PRIVILEGES FOR ROLE optuna IN SCHEMA public GRANT SELECT ON TABLES TO dashboard;
SQL
