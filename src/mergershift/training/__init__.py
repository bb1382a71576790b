"""Train one network; no other package uses Lightning."""
