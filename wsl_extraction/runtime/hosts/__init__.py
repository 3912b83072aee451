"""Several processes, one a host, that run one program together."""
