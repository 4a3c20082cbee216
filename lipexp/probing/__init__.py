"""The probe: what every layer does to signal and gradient, at depths where float64 would underflow."""
