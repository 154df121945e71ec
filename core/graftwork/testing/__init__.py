"""The public conformance kit: base classes to subclass in a plugin's own tests. `backbones` is for backbones."""
