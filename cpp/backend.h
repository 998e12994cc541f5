// llama.cpp and its backends in this process: their start, and what they log.
// llama.cpp's log lines are collected here and handed out by drain_log(), never printed.
#pragma once

#include <string>
#include <vector>

namespace ppldelta {

struct log_line {
    int         level; // enum ggml_log_level
    std::string text;  // without the line break
};

// Lines of at least a level that llama.cpp and ggml logged since the last call, oldest first; the others are dropped.
// Where ggml aborts the process, the lines that nobody fetched go to stderr before its own last one. Thread safe.
std::vector<log_line> drain_log(int least_level);

// From now on every line but those for debugging is also written to a file as soon as it is logged, so that it is
// there whatever happens next.
void mirror_log(int fd);

// Tells a build with loadable backends (GGML_BACKEND_DL) where they are; it is called before anything asks for one.
void find_backends(const std::string & folder);

// llama.cpp's line on the features of the processor that it uses.
std::string system_info();

// Names of backends that are built in and find no device, such as "CUDA" without a driver.
std::vector<std::string> idle_backends();

// Makes the devices of a `ggml-rpc-server` at HOST:PORT this process's own, for all models that are loaded afterwards.
// Throws std::runtime_error if the build has no RPC backend; ggml aborts the process if no server answers.
void add_rpc_server(const std::string & endpoint);

// Makes llama.cpp and its backends ready, once; every function that asks them something calls it first.
void initialize_backend();

} // namespace ppldelta
