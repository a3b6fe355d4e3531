"""What an API server checks of Istio's kinds by itself: schemas beside the parsers, and the definitions of them."""
