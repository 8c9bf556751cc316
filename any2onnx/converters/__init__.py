"""Front-ends (one per framework) and the translator that they share."""
