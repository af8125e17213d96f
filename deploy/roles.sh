#!/bin/sh
# Roles and database, made once when the database's volume is new. The passwords hold letters and digits only.
set -eu
psql -v ON_ERROR_STOP=1 --username postgres <<SQL
CREATE ROLE lifecycle_owner LOGIN PASSWORD '$OWNER_PASSWORD';
CREATE ROLE lifecycle_app LOGIN PASSWORD '$APP_PASSWORD';
CREATE DATABASE control OWNER lifecycle_owner;
\connect control
ALTER DEFAULT PRIVILEGES FOR ROLE lifecycle_owner GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO lifecycle_app;
ALTER DEFAULT PRIVILEGES FOR ROLE lifecycle_owner GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO lifecycle_app;
SQL
