"""Plans without a cluster: from files to the objects that a snapshot is assembled from."""
