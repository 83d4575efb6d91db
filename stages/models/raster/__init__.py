"""Drawing meshes: one interface, and what draws behind it, on the processor or on a GPU."""
