"""Run commands on a cluster; the only submitit."""
