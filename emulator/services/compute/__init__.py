"""Clusters, their nodes, and the region's sizes and quotas."""
