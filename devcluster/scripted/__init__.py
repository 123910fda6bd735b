"""A scripted Anthropic Messages API: the demo and the tests get a model whose every answer they have written."""
