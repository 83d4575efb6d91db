"""What exists: clips, outcomes, artifacts, shards, releases, and questions to them."""
