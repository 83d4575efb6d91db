"""The engine: named pools of workers, one item in flight a worker, results joined by id."""
