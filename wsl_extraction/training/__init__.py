"""Training of students, of surrogates and victims alike."""
