"""Metrics, statistics and the evaluation of runs and folders."""
