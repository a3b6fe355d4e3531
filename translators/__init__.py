"""Pure functions from the model to Envoy's messages: same input, same bytes."""
