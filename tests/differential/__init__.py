"""Plans against the real kube-scheduler: random worlds, one comparison, minimal reproductions."""
