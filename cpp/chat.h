// A model's chat template: a Jinja program that turns messages into a text, run by the engine of llama.cpp's `common`.
// The engine marks what comes from the messages, so that special tokens in their contents need not be obeyed.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace ppldelta {

struct chat_message {
    std::string role;
    std::string content;
};

struct rendered_part {
    std::string text;
    bool        content; // whether it comes from the contents of the messages; the rest is the template's
};

class chat_template {
  public:
    // Throws std::runtime_error with the engine's words where the source cannot be parsed.
    explicit chat_template(const std::string & source);
    ~chat_template();

    // The text of the messages; with `generate` also what the template puts before an answer. Whatever day it is,
    // `strftime_now` takes it for 26 July 2024, the day that Llama 3.1's template assumes where it is told none: a text
    // that changes at midnight would be evaluated again. Throws std::runtime_error where the template raises or fails.
    std::vector<rendered_part> render(const std::vector<chat_message> & messages, bool generate, const std::string & bos,
                                      const std::string & eos) const;

  private:
    struct program;
    std::unique_ptr<const program> program_;
};

} // namespace ppldelta
