"""The probe: what every layer does to signal and gradient, at any depth."""
