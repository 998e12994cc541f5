// Scores windows without Python: int32 words on stdin, float32 log-probabilities on stdout.
//
//   score_windows MODEL N_CTX N_UBATCH N_OUTPUTS_MAX < windows > logp
//   each window: n_tokens, first_output, the tokens, the targets (n_tokens - first_output of them)
#include "scorer.h"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <vector>

static std::vector<int32_t> read_words(size_t n) {
    std::vector<int32_t> words(n);
    words.resize(std::fread(words.data(), sizeof(int32_t), n, stdin));
    return words;
}

int main(int argc, char ** argv) try {
    if (argc != 5) {
        std::fprintf(stderr, "usage: %s MODEL N_CTX N_UBATCH N_OUTPUTS_MAX < windows > logp\n", argv[0]);
        return 2;
    }
    const auto number = [&](int i) { return static_cast<uint32_t>(std::strtoul(argv[i], nullptr, 10)); };
    const auto model  = std::make_shared<ppldelta::model>(argv[1], /*n_gpu_layers*/ 0, /*vocab_only*/ false);
    ppldelta::scorer scorer(model, { number(2), number(3), number(4), /*n_seq_max*/ 1, /*n_threads*/ 2, /*bf16*/ false,
                                     /*states*/ false, /*flash*/ true });
    for (std::vector<int32_t> head; !(head = read_words(2)).empty();) {
        const auto n_tokens     = static_cast<size_t>(head.at(0));
        const auto first_output = static_cast<size_t>(head.at(1));
        const auto tokens  = read_words(n_tokens);
        const auto targets = read_words(n_tokens - first_output);
        std::vector<float> logp(targets.size());
        ppldelta::target_reader reader(ppldelta::row_numbers({ targets.size() }), targets.data(), scorer.n_threads(),
                                       logp.data());
        scorer.run({ { tokens.data(), tokens.size(), first_output } }, reader, [](size_t) {});
        std::fwrite(logp.data(), sizeof(float), logp.size(), stdout);
    }
    return 0;
} catch (const std::exception & error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
