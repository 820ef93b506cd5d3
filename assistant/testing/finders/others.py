"""The other languages: a few lines each."""

from __future__ import annotations

import re

from assistant.testing.finders.place import Found, Place

_BUILT = ("build/", "out/build/", "_build/", "cmake-build-debug/", "builddir/", "out/")
_RULE = r"^{}\s*:(?!=)"


def go(place: Place) -> Found | None:
    """A module of Go."""
    return Found("go test ./...", "go.mod") if place.has("go.mod") else None


def cargo(place: Place) -> Found | None:
    """A crate or a workspace of them."""
    if not place.has("Cargo.toml"):
        return None
    whole = " --workspace" if re.search(r"^\[workspace\]", place.text("Cargo.toml"), re.MULTILINE) else ""
    return Found(f"cargo test{whole} --no-fail-fast", "Cargo.toml")


def maven(place: Place) -> Found | None:
    """A Maven project."""
    return Found(f"{'./mvnw' if place.has('mvnw') else 'mvn'} -q test", "pom.xml") if place.has("pom.xml") else None


def gradle(place: Place) -> Found | None:
    """A Gradle build."""
    name = place.has("build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts")
    program = "./gradlew" if place.has("gradlew") else "gradle"
    return Found(f"{program} test --continue --console=plain", name) if name else None


def cmake(place: Place) -> Found | None:
    """A CMake project with tests: built where it was built before, else in a folder of its own, and then tested."""
    if not re.search(
        r"enable_testing\s*\(|include\s*\(\s*CTest|gtest_discover", place.text("CMakeLists.txt"), re.IGNORECASE
    ):
        return None
    built = next((name.rstrip("/") for name in _BUILT if place.has(f"{name}CMakeCache.txt")), "")
    configure = "" if built else "cmake -B build && "
    folder = built or "build"
    return Found(
        f"{configure}cmake --build {folder} && ctest --test-dir {folder} --output-on-failure", "CMakeLists.txt"
    )


def dotnet(place: Place) -> Found | None:
    """A solution or project of .NET."""
    name = place.matching("*.sln", "*.slnx", "*.csproj", "*.fsproj")
    return Found("dotnet test --nologo --logger 'console;verbosity=normal'", name) if name else None


def ruby(place: Place) -> Found | None:
    """rspec, or the Rakefile's tests."""
    bundled = "bundle exec " if place.has("Gemfile") else ""
    if place.has(".rspec", "spec/spec_helper.rb"):
        return Found(f"{bundled}rspec", place.has(".rspec", "spec/spec_helper.rb"))
    if re.search(r"TestTask|task\s*\(?:test\b", place.text("Rakefile")):
        return Found(f"{bundled}rake test", "Rakefile")
    return None


def elixir(place: Place) -> Found | None:
    """A project of Mix."""
    return Found("mix test --trace", "mix.exs") if place.has("mix.exs") else None


def php(place: Place) -> Found | None:
    """phpunit, or what Composer calls the tests."""
    if name := place.has("phpunit.xml", "phpunit.xml.dist", "phpunit.dist.xml"):
        return Found("vendor/bin/phpunit --testdox" if not place.has("vendor/bin/pest") else "vendor/bin/pest", name)
    return Found("composer test", "composer.json") if place.json("composer.json", "scripts", "test") else None


def make(place: Place) -> Found | None:
    """`make test`, or `make check`."""
    name = place.has("Makefile", "makefile", "GNUmakefile")
    text = place.text(name) if name else ""
    for target in ("test", "tests", "check"):
        if re.search(_RULE.format(target), text, re.MULTILINE):
            return Found(f"make {target}", name)
    if re.search(r"^test\b.*:", place.text("justfile"), re.MULTILINE):
        return Found("just test", "justfile")
    return None
