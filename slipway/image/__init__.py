"""Container images: what one is made of, the engine that makes it, bytes that never vary."""
