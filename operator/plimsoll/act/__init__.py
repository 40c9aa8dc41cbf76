"""Acting: the one place that writes to the API server and to hypervisors."""
