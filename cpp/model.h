// RAII over llama_model: loading, the vocabulary, and what a model says of itself.
#pragma once

#include "llama.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ppldelta {

struct model_info {
    std::string          architecture;
    std::string          name;
    std::string          file_type;     // llama.cpp's name of the quantisation, such as "Q8_0"
    int32_t              n_vocab;
    int32_t              n_ctx_train;
    uint64_t             n_params;
    uint64_t             size_bytes;    // of all tensors
    int32_t              bos;           // -1 where the vocabulary has none
    int32_t              eos;
    bool                 add_bos;
    bool                 add_eos;
    bool                 recurrent;     // recurrent or hybrid: state beside the KV cache
    bool                 causal;        // reads from left to right; not so encoders, encoder-decoders and diffusion models
    std::string          tokenizer;     // the file's tokenizer.ggml.model, such as "gpt2" for BPE
    std::string          pre_tokenizer; // its tokenizer.ggml.pre; empty where it says none
    std::string          chat_template; // empty where it has none
    std::vector<int32_t> control;       // tokens that steer and stand for no text, ascending
};

class model {
  public:
    // Throws std::runtime_error when llama.cpp cannot load the file; the reason is in the log.
    // With `vocab_only` the weights stay on disk: such a model tokenizes, but no scorer can be made from it.
    model(const std::string & path, int32_t n_gpu_layers, bool vocab_only);

    model_info info() const;

    // Tokens of `text`, with what the vocabulary puts around a text (an EOS, say) but without a leading BOS, which
    // the window rules place themselves. Special tokens that are spelt out in the text are read as plain text, unless
    // `parse_special` says otherwise.
    std::vector<int32_t> tokenize(std::string_view text, bool parse_special) const;

    // How the vocabulary spells its control tokens, those that a text does not hold unless `parse_special` says so.
    std::vector<std::string> control_tokens() const;

    // The template that turns messages into a text; empty where the file has none.
    std::string chat_template() const;

    // The bytes that a token stands for.
    std::string piece(int32_t token) const;

    int32_t n_vocab() const;

    llama_model * get() const { return handle_.get(); }

  private:
    const llama_vocab * vocab() const;

    struct deleter {
        void operator()(llama_model * ptr) const;
    };
    std::unique_ptr<llama_model, deleter> handle_;
};

// A LoRA, loaded for a model and applied to nothing yet.
class adapter {
  public:
    // Keeps `m` alive. Throws std::runtime_error when llama.cpp cannot load the file, or not for this model; the reason
    // is in the log. So it does for an activated LoRA, which would change only what follows certain tokens.
    adapter(std::shared_ptr<const model> m, const std::string & path);

    llama_adapter_lora * get() const { return handle_.get(); }

  private:
    struct deleter {
        void operator()(llama_adapter_lora * ptr) const { llama_adapter_lora_free(ptr); }
    };
    std::shared_ptr<const model>                 model_;
    std::unique_ptr<llama_adapter_lora, deleter> handle_;
};

} // namespace ppldelta
