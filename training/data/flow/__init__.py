"""How records move: chunks that are kept, shards, processes, reports."""
