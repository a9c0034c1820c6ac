pytest_plugins = ["signalling.testing.plugin"]
