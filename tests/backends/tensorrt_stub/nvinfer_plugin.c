/* What TensorRT 11's Python bindings link against in libnvinfer_plugin. */
int initLibNvInferPlugins(void *logger, const char *name_space) { return 1; }
