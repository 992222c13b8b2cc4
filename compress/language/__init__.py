"""Language models: from a directory of weights, or a GGUF file, to an ONNX decoder that generates with a cache.

- :func:`compress.language.weights.open_language_model` reads config and weights,
  :func:`compress.language.tokenizer.open_tokenizer` the tokenizer.
- :func:`compress.language.graph.write_decoder` writes the graph; :mod:`compress.language.matrices` has the forms of its
  matrices.
- :class:`compress.language.generation.Generator` writes text, :func:`compress.language.speed.measure_speed` measures.
- :func:`compress.language.genai.write_genai` writes what onnxruntime-genai needs.
"""
