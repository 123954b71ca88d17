-- Prefect's own database is made by the image; these are MLflow's and Optuna's.
CREATE DATABASE mlflow OWNER purplesky;
CREATE DATABASE optuna OWNER purplesky;
