"""Reading the world: wire structs, the reflector that keeps them, the snapshot made of them."""
