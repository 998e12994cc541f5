"""Names every input of the demo models: Debian packages and the files taken from them.

All text comes from Debian 12 packages, so that anyone can fetch the same bytes with `apt-get download`.
The held-out corpus of `ppldelta demo` is original and in none of them; Python's packages `json` and `email`,
which we also evaluate on, are left out with their tests and their documentation (`HELD_OUT`).
"""

import re
from dataclasses import dataclass

LANGUAGES = ("de", "fr", "es", "it", "pt", "pl", "ru", "nl", "ja")

# Matched against the path below the package's root.
HELD_OUT = re.compile(r"/(json|email)(/|\.|$)|test_(json|email)|(json|email)_data")


@dataclass(frozen=True)
class Source:
    """Some files of one Debian package.

    Attributes:
        package: name of the Debian package.
        pattern: glob below the package's root; `**` is allowed.
        reader: name of the function in `readers` that turns a file into documents.
        category: "prose", "code", or a language code of `LANGUAGES`.
        limit_bytes: how much text to keep at most; documents are taken in a seeded random order.
    """

    package: str
    pattern: str
    reader: str
    category: str
    limit_bytes: int = 1_000_000


WESNOTH_CAMPAIGNS = (
    "did",
    "dm",
    "dw",
    "ei",
    "httt",
    "l",
    "low",
    "nr",
    "sof",
    "sota",
    "sotbe",
    "thot",
    "trow",
    "tsg",
    "utbs",
)

# Collections of proverbs and quotations; the jokes are left out.
QUOTATIONS = {
    "de": ("sprichworte", "wusstensie", "zitate"),
    "es": tuple(
        f"{name}.fortunes" for name in ("arte", "ciencia", "familia", "filosofia", "refranes", "sabiduria", "vida")
    ),
    "ru": ("book", "education", "friendship", "knowledge", "life", "love", "time", "truth", "work"),
}


def prose() -> list[Source]:
    """English: novels, tales, essays, quotations, and explanations."""
    doc = "usr/share/doc"
    return [
        Source(
            "r-cran-janeaustenr", "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb", "r_strings", "prose", 3_000_000
        ),
        *(
            Source(
                f"wesnoth-1.16-{name}", "usr/share/games/**/locale/de/LC_MESSAGES/*.mo", "catalogue_english", "prose"
            )
            for name in WESNOTH_CAMPAIGNS
        ),
        Source("endless-sky-data", "usr/share/games/endless-sky/data/**/*.txt", "endless_sky", "prose", 1_500_000),
        Source("crawl-common", "usr/share/crawl/dat/descript/*.txt", "crawl", "prose", 700_000),
        Source("anarchism", f"{doc}/anarchism/html/*.html", "html", "prose", 2_000_000),
        *(
            Source("fortunes", f"usr/share/games/fortunes/{name}", "fortune", "prose", 200_000)
            for name in ("art", "cookie", "definitions", "education", "food", "people", "science", "wisdom", "work")
        ),
        Source("fortunes-min", "usr/share/games/fortunes/literature", "fortune", "prose"),
        Source("debian-history", f"{doc}/debian-history/docs/*.en.html", "html", "prose", 200_000),
        Source("debian-handbook", f"{doc}/debian-handbook/html/en-US/*.html", "html", "prose", 500_000),
        Source("debian-faq", f"{doc}/debian/FAQ/*.en.html", "html", "prose", 200_000),
        Source("gnome-user-docs", "usr/share/help/C/gnome-help/*.page", "html", "prose", 500_000),
        Source("perl-doc", "usr/share/perl/*/pod/perl*tut.pod", "pod", "prose", 200_000),
        Source("perl-doc", "usr/share/perl/*/pod/perlfaq*.pod", "pod", "prose", 200_000),
    ]


def code() -> list[Source]:
    """Source code: about half Python; C, C++, JavaScript, shell, Rust, SQL and Perl share the rest."""
    dist = "usr/lib/python3/dist-packages"
    python = [
        Source("libpython3.11-stdlib", "usr/lib/python3.11/**/*.py", "source", "code", 4_000_000),
        Source("libpython3.11-minimal", "usr/lib/python3.11/**/*.py", "source", "code", 1_500_000),
        Source("libpython3.11-testsuite", "usr/lib/python3.11/test/test_*.py", "source", "code", 1_000_000),
        Source("python3-django", f"{dist}/django/**/*.py", "source", "code", 1_500_000),
        Source("python3-werkzeug", f"{dist}/**/*.py", "source", "code", 400_000),
        Source("python3-flask", f"{dist}/**/*.py", "source", "code", 300_000),
        Source("python3-jinja2", f"{dist}/**/*.py", "source", "code", 300_000),
        Source("python3-click", f"{dist}/**/*.py", "source", "code", 300_000),
        Source("python3-requests", f"{dist}/**/*.py", "source", "code", 200_000),
        Source("python3-networkx", f"{dist}/networkx/algorithms/**/*.py", "source", "code", 500_000),
    ]
    c_family = [
        Source("lttng-modules-dkms", "usr/src/**/*.c", "source", "code", 500_000),
        Source("jool-dkms", "usr/src/**/*.c", "source", "code", 500_000),
        Source("v4l2loopback-dkms", "usr/src/**/*.c", "source", "code", 100_000),
        Source("libcurl4-doc", "usr/share/doc/**/*.c", "source", "code", 300_000),
        Source("libglib2.0-dev", "usr/include/**/*.h", "source", "code", 200_000),
        Source("googletest", "usr/src/**/*.cc", "source", "code", 600_000),
        Source("googletest", "usr/src/**/*.h", "source", "code", 400_000),
        Source("libstdc++-12-dev", "usr/include/c++/12/bits/*.h", "source", "code", 300_000),
    ]
    javascript = [
        Source(f"node-{name}", f"usr/share/nodejs/{name}/**/*.js", "source", "code", 150_000)
        for name in ("commander", "express", "lodash", "underscore", "ws", "yargs")
    ]
    shell = [
        Source("git", "usr/lib/git-core/git-*", "shell", "code", 200_000),
        Source("git", "usr/share/doc/git/contrib/**/*.sh", "source", "code", 100_000),
        Source("devscripts", "usr/bin/*", "shell", "code", 300_000),
        Source("bash-completion", "usr/share/bash-completion/completions/*", "source", "code", 250_000),
    ]
    other = [
        Source("postgresql-15", "usr/share/postgresql/15/*.sql", "source", "code", 300_000),
        Source("postgresql-15", "usr/share/postgresql/15/extension/*.sql", "source", "code", 100_000),
        Source("perl-modules-5.36", "usr/share/perl/5.36.0/**/*.pm", "source", "code", 150_000),
        *(
            Source(f"librust-{name}-dev", "usr/share/cargo/registry/**/*.rs", "source", "code", 350_000)
            for name in ("clap-3", "serde", "tokio", "regex", "rand", "anyhow")
        ),
    ]
    return python + c_family + javascript + shell + other


def language(code: str) -> list[Source]:
    """One language other than English: tales, everyday help, quotations, and documentation of software."""
    variants = [code, "pt_BR"] if code == "pt" else [code]
    handbook = {
        "de": "de-DE",
        "fr": "fr-FR",
        "es": "es-ES",
        "it": "it-IT",
        "pt": "pt-BR",
        "pl": "pl-PL",
        "ru": "ru-RU",
        "nl": "nl-NL",
        "ja": "ja-JP",
    }[code]
    manpages = "pt-br" if code == "pt" else code
    doc = "usr/share/doc"
    found = [
        *(
            Source(f"wesnoth-1.16-{name}", f"usr/share/games/**/locale/{variant}/LC_MESSAGES/*.mo", "catalogue", code)
            for name in WESNOTH_CAMPAIGNS
            for variant in variants
        ),
        *(
            Source("gnome-user-docs", f"usr/share/help/{variant}/gnome-help/*.page", "html", code, 600_000)
            for variant in variants
        ),
        Source("crawl-common", f"usr/share/crawl/dat/descript/{code}/*.txt", "crawl", code, 300_000),
        Source("debian-handbook", f"{doc}/debian-handbook/html/{handbook}/*.html", "html", code, 700_000),
        Source(f"manpages-{manpages}", "usr/share/man/*/man*/*.gz", "manpage", code, 500_000),
        Source("vim-runtime", f"usr/share/vim/vim90/tutor/tutor.{code}.utf-8", "plain", code, 100_000),
    ]
    if code not in ("pl", "ru", "nl"):
        found.append(
            Source(f"debian-reference-{code}", f"usr/share/debian-reference/*.{code}.html", "html", code, 300_000)
        )
    if code not in ("pl", "nl"):
        found.append(
            Source("installation-guide-amd64", f"{doc}/installation-guide-amd64/{code}/*.html", "html", code, 200_000)
        )
    if code not in ("es", "pl"):
        found.append(Source(f"debian-faq-{code}", f"{doc}/debian/FAQ/{code}/*.html", "html", code, 200_000))
    if code in ("fr", "es", "it", "ru", "nl", "ja"):
        found.append(Source(f"aptitude-doc-{code}", f"{doc}/aptitude/html/{code}/*.html", "html", code, 200_000))
    found += [
        Source(f"fortunes-{code}", f"usr/share/games/fortunes/{code}/{name}", "fortune", code, 500_000)
        for name in QUOTATIONS.get(code, ())
    ]
    return found


def all_sources() -> list[Source]:
    """Every input, in a fixed order."""
    return prose() + code() + [source for name in LANGUAGES for source in language(name)]
