"""An example site that runs as it is and can serve as a template."""
