"""`hipache chp`: does what JupyterHub's configurable-http-proxy does, behind the same interface."""
