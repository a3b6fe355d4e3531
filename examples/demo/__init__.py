"""`make demo`: the example shop as a mesh, and six claims shown with figures measured there and then."""
