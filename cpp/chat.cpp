// See chat.h.
#include "chat.h"

#ifdef __GNUC__
#    pragma GCC diagnostic ignored "-Wunused-function" // the engine's headers define some in every file
#endif

#include "jinja/lexer.h"
#include "jinja/parser.h"
#include "jinja/runtime.h"
#include "jinja/value.h"

#include <ctime>
#include <stdexcept>
#include <utility>

namespace ppldelta {

struct chat_template::program {
    std::string    source;
    jinja::program parsed;
};

namespace {

constexpr std::time_t noon = 1721995200; // 2024-07-26 12:00 UTC: the 26th in all but the easternmost time zones

jinja::value text_value(const std::string & text, bool content = false) {
    return jinja::mk_val<jinja::value_string>(jinja::string(text, content));
}

jinja::program parsed(const std::string & source) {
    jinja::lexer lexer;
    return jinja::parse_from_tokens(lexer.tokenize(source));
}

} // namespace

chat_template::chat_template(const std::string & source) : program_(new program{ source, parsed(source) }) {}

chat_template::~chat_template() = default;

std::vector<rendered_part> chat_template::render(const std::vector<chat_message> & messages, bool generate,
                                                 const std::string & bos, const std::string & eos) const {
    auto list = jinja::mk_val<jinja::value_array>();
    for (const auto & message : messages) {
        auto each = jinja::mk_val<jinja::value_object>();
        each->insert("role", text_value(message.role));
        each->insert("content", text_value(message.content, true));
        list->push_back(jinja::value(std::move(each)));
    }
    jinja::context context(program_->source);
    context.current_time = noon;
    context.set_val("messages", list);
    context.set_val("bos_token", text_value(bos));
    context.set_val("eos_token", text_value(eos));
    context.set_val("add_generation_prompt", jinja::mk_val<jinja::value_bool>(generate));
    for (const char * name : { "tools", "documents" }) { // transformers defines them where there are none
        context.set_val(name, jinja::mk_val<jinja::value_none>());
    }
    jinja::runtime             runtime(context);
    const auto                 gathered = jinja::runtime::gather_string_parts(runtime.execute(program_->parsed));
    std::vector<rendered_part> parts;
    for (const auto & part : gathered->val_str.parts) {
        if (!part.val.empty()) {
            parts.push_back({ part.val, part.is_input });
        }
    }
    return parts;
}

} // namespace ppldelta
