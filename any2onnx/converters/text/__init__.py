"""Text in the graph: characters, tokens, bytes and hashes, for every front-end."""
