-- One database each: the ledger, Prefect's state, MLflow's registry.
CREATE DATABASE slipway;
CREATE DATABASE prefect;
CREATE DATABASE mlflow;
