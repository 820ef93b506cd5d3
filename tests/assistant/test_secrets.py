"""Redaction: what is a secret goes, what only looks or sounds like one stays. All values are made up."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.safety.secrets import Redactor, known_secrets, redact, redact_record

A36 = "q7Rk2mXv9LpW4sZt8BnD1fHy6CgJ3aEuQ5oT"
A40 = "wJ4lrXUtnFEMI/K7MDENGxbPxRfiCYqTzR9kLm2p"
B64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{B64}\n{B64[::-1]}\nq8==\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

SECRETS = [
    # settings and environment
    ("DB_PASSWORD=hunter2", "hunter2"),
    ("export API_KEY=abc123def", "abc123def"),
    ('export GITHUB_TOKEN="zork"', None),
    ("SECRET_KEY='django-insecure-8x!kq'", "django-insecure-8x!kq"),
    ("  - MYSQL_ROOT_PASSWORD=letmein", "letmein"),
    ("12\tPOSTGRES_PASSWORD=s3same", "s3same"),
    ("+STRIPE_SECRET=blub99", "blub99"),
    ("MYSQL_PWD=tr0ub4dor", "tr0ub4dor"),
    ("password: hunter2", "hunter2"),
    ("  password: letmein  # change this", "letmein"),
    ("client_secret: 9f8e7d6c5b4a", "9f8e7d6c5b4a"),
    ('api_key = "k-12-abc"', "k-12-abc"),
    ("[default]\naws_secret_access_key = " + A40, A40),
    ("[client]\nuser = app\npassword = letmein\n", "letmein"),
    ("spring.datasource.password=s3cr3tpw", "s3cr3tpw"),
    ("//registry.npmjs.org/:_authToken=0a1b2c3d-4e5f-6789", "0a1b2c3d-4e5f-6789"),
    ("machine github.com login me password hunter2x", "hunter2x"),
    ("- name: DB_PASSWORD\n  value: opensesame1", "opensesame1"),
    ("password: |\n  line-of-secret\n", "line-of-secret"),
    # data
    ('{"password": "hunter2"}', "hunter2"),
    ('{"user": "me", "access_token": "zXy98wVu76tSr54q"}', "zXy98wVu76tSr54q"),
    ('{\\"password\\": \\"hunter2\\"}', "hunter2"),
    ("'passphrase': 'correct horse battery staple'", "correct horse battery staple"),
    ("<password>hunter2</password>", "hunter2"),
    ('"password":\n    "hunter2"', "hunter2"),
    ('{"auths": {"r.io": {"_auth": "bWU6aHVudGVyMnBhc3M1"}}}', "bWU6aHVudGVyMnBhc3M1"),
    # code
    ('password = "hunter2"', "hunter2"),
    ("connect(user='me', password='hunter2')", "hunter2"),
    ('PASSWORD: str = "hunter2"', "hunter2"),
    ('const apiKey = "abcd-1234";', "abcd-1234"),
    ("'password' => 'hunter2',", "hunter2"),
    ("dbPassword := `hunter2`", "hunter2"),
    ("define('DB_PASSWORD', 'hunter2');", "hunter2"),
    ('os.environ["API_TOKEN"] = "a1b2c3d4e5"', "a1b2c3d4e5"),
    ('monkeypatch.setenv("API_TOKEN", "a1b2c3d4e5")', "a1b2c3d4e5"),
    ('private String secretKey = "Zk9-plum";', "Zk9-plum"),
    ("ALTER USER app IDENTIFIED BY 'hunter2'", "hunter2"),
    ('"host=db user=app password=letmein dbname=x"', "letmein"),
    ("Server=db;User Id=sa;Password=letmein;", "letmein"),
    # headers, URLs, command lines
    ("Authorization: Bearer abcdef123456", "abcdef123456"),
    ('headers={"Authorization": "Token 9944b09199c62bcf"}', "9944b09199c62bcf"),
    ("> authorization: Basic bWU6aHVudGVyMg==", "bWU6aHVudGVyMg=="),
    ("curl -H 'X-Api-Key: abc-def-1234' https://x.test", "abc-def-1234"),
    ("Cookie: session=deadbeef; theme=dark", "deadbeef"),
    ("Set-Cookie: sid=s%3AabcDEF.1; Path=/; HttpOnly", "s%3AabcDEF.1"),
    ("https://me:hunter2@example.test/repo.git", "hunter2"),
    ("postgres://app:p%40ss@db:5432/shop", "p%40ss"),
    ("redis://:hunter2@localhost:6379/0", "hunter2"),
    ("https://x.test/cb?access_token=zzz999yyy&state=1", "zzz999yyy"),
    ("GET /v1?q=1&api_key=zzz999yyy HTTP/1.1", "zzz999yyy"),
    ("curl -u me:hunter2 https://x.test", "hunter2"),
    ("mysql --password=letmein shop", "letmein"),
    ("deploy --token a1b2c3d4e5 --force", "a1b2c3d4e5"),
    ("docker login -u me --password 'letmein'", "letmein"),
    # shapes
    ("id AKIAQWERTYUIOPASDFGH here", "AKIAQWERTYUIOPASDFGH"),
    (f"AKIAQWERTYUIOPASDFGH,{A40}", A40),
    (f"pushed with ghp_{A36}", f"ghp_{A36}"),
    ("github_pat_11ABCDEFG0" + A36, "github_pat_11ABCDEFG0"),
    (f"gho_{A36}.", f"gho_{A36}"),
    ("glpat-abcdefghij0123456789", "glpat-abcdefghij0123456789"),
    ("xoxb-" + "123456789012-abcdefABCDEF", "123456789012-abcdefABCDEF"),
    ("sk_" + "live_" + A36, A36),
    (f"sk-proj-{A36}", A36),
    (f"sk-ant-api03-{A36}", A36),
    ("AIza" + A36[:35], A36[:35]),
    (f"npm_{A36}", A36),
    (f"pypi-AgEIcHlwaS5vcmc{A36}", A36),
    (f"hf_{A36[:34]}", A36[:34]),
    (f"see {JWT}", JWT),
    (f"line one\\nghp_{A36}\\nline two", A36),
    (PEM, B64),
    (PEM.replace("\n", "\\n"), B64),
    ("\n".join(f"{n}\t{line}" for n, line in enumerate(PEM.split("\n"), 1)), B64[::-1]),
    ("\n".join(f"+{line}" for line in PEM.split("\n")), B64[::-1]),
    (PEM[:150], B64),
    (PEM[60:], B64[::-1]),
    (PEM.replace("RSA", "OPENSSH"), B64),
    (PEM.replace("RSA PRIVATE KEY", "PGP PRIVATE KEY BLOCK").replace("\nMII", "\nVersion: GnuPG v2\n\nMII"), B64[::-1]),
]

CODE = [
    "token = next(tokens)",
    "token = tokens[0]",
    "token: Token = self.peek()",
    "def login(user: str, password: str) -> Token:",
    "password: str",
    "password: bytes | None = None",
    "    token: Optional[str] = None",
    'secret_key = os.environ["SECRET_KEY"]',
    'SECRET_KEY=os.environ["X"]',
    'api_key = os.getenv("API_KEY")',
    'api_key = settings.api_key or ""',
    "connect(user=user, password=password)",
    "login(password=pw)",
    "self.token = token",
    "self._secret = secret_from(self.path)",
    'if token == "while":',
    'if password != "":',
    "password == hunter2",
    'token = "while"',
    'TOKEN = "=="',
    'tokens = {"a": 1}',
    "max_tokens=4096, token_count=12",
    'TOKEN_TYPE = "bearer"',
    '{"type": "password", "name": "pw"}',
    '<input type="password" name="password">',
    'password = getpass.getpass("Password: ")',
    'input("Token: "), input("Secret: ")',
    '"password": "Enter your password",',
    'label: "Forgot your password?"',
    "PASSWORD=$1",
    'export TOKEN="${GITHUB_TOKEN}"',
    "TOKEN=$(pass show github)",
    "password: ${{ secrets.NPM_TOKEN }}",
    "api_key: <your api key>",
    "API_KEY=your-api-key-here",
    'password = "********"',
    'f"Bearer {token}"',
    '{"Authorization": f"Bearer {self.token}"}',
    "Authorization: Bearer <token>",
    "send it as a Bearer token in the Authorization header",
    "const token = await getToken();",
    "let password = req.body.password;",
    "func (p *Parser) Token() token.Token {",
    "case token.ADD: return",
    "#define TOKEN_LEFT 5",
    "token=5",
    "LEFT_TOKEN=RIGHT_TOKEN",
    "parser.add_argument('--token', help='the token to use')",
    "pass --token TOKEN to the command",
    "git commit -m 'Rotate the signing key'",
    "class Token:\n    \"\"\"A token of the language.\"\"\"",
    "def test_wrong_password_is_refused(client):",
    "tests/test_token.py::test_secret_1 PASSED",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "id: 550e8400-e29b-41d4-a716-446655440000",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    '"integrity": "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="',
    "git@github.com:me/repo.git",
    "ssh://git@example.test:22/repo",
    "http://localhost:8000/v1?page=2&q=token",
    "https://user:{password}@host/",
    "postgres://$USER:$PASSWORD@localhost/db",
    ".sk-toggleable__label-arrow { color: red }",
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 me@host",
    "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBa\n-----END CERTIFICATE-----",
    'if "-----BEGIN PRIVATE KEY-----" in text:\n    return load(text)',
    "cookie = SimpleCookie()",
    "cookie: Cookie",
    "private_key = rsa.generate_private_key(65537, 2048)",
    "key = sha256(data).hexdigest()",
    "    return secret is not None",
    "bypass: true",
    "the password: wrong or missing",
    "secret: true",
    'secretName: "my-app-secret"',
    "npm_config_registry=https://registry.npmjs.org/",
    "hf_hub_download(repo_id)",
]  # fmt: skip


@pytest.mark.parametrize(("text", "secret"), [pair for pair in SECRETS if pair[1]])
def test_a_secret_goes_and_the_rest_of_its_line_stays(text, secret):
    assert secret in text
    redacted = redact(text)
    assert secret not in redacted
    assert "[redacted " in redacted
    assert redact(redacted) == redacted


@pytest.mark.parametrize("text", CODE)
def test_code_that_speaks_of_secrets_stays(text):
    assert redact(text) == text


def test_enough_of_both():
    assert len(SECRETS) >= 60
    assert len(CODE) >= 60


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("curl -u me:hunter2 https://x.test/a", "curl -u me:[redacted password] https://x.test/a"),
        ("https://me:hunter2@x.test/a?b=1", "https://me:[redacted password]@x.test/a?b=1"),
        ('f(user="me", password="hunter2", port=1)', 'f(user="me", password="[redacted password]", port=1)'),
        ("A=1\nAPI_KEY=zork99\nB=2", "A=1\nAPI_KEY=[redacted api_key]\nB=2"),
        (f"before\n{PEM}\nafter", "before\n[redacted private key]\nafter"),
        ("?a=1&token=zzz999yyy&b=2", "?a=1&token=[redacted token]&b=2"),
    ],
)
def test_what_stands_around_it_is_kept(text, redacted):
    assert redact(text) == redacted


def test_records_are_redacted_by_their_keys_and_inside_their_texts():
    record = {
        "arguments": {"password": "hunter2", "content": "DB_PASSWORD=hunter2\n", "n": 3, "ok": None},
        "list": [{"api_key": "zork99"}, "ghp_" + A36],
        "tokens": {"prompt": 5},
        "headers": {"Authorization": "Bearer abc-def-123"},
    }
    redacted = redact_record(record)
    text = json.dumps(redacted)
    for secret in ("hunter2", "zork99", A36, "abc-def-123"):
        assert secret not in text
    assert redacted["arguments"]["n"] == 3
    assert redacted["tokens"] == {"prompt": 5}


def test_a_secret_that_was_seen_is_known_again():
    redactor = Redactor()
    assert redactor.record({"a": "it was zork-99x", "output": "DB_PASSWORD=zork-99x\nMODE=production"})["a"] == (
        "it was [redacted key]"
    )
    assert redactor.record({"old": "zork-99x", "new": "production"}) == {"old": "[redacted key]", "new": "production"}
    assert redactor.record({"x": "password: production"})["x"] == "password: [redacted password]"
    assert redactor.record({"x": "in production"})["x"] == "in production"


def test_known_values_go_wherever_they_stand():
    known = known_secrets("some-plain-words-key", {"GITHUB_TOKEN": "zYx9-long-value", "PATH": "/bin", "TOKEN": "short"})
    assert known == ("some-plain-words-key", "zYx9-long-value")
    assert redact("it said some-plain-words-key, twice: some-plain-words-key", known).count("[redacted key]") == 2
    assert known_secrets("not-needed", {}) == ()


@given(st.text(alphabet=st.sampled_from("ab \n\"'\\=:/@-_.{}$<>?&1AEpaswordtken"), max_size=200))
def test_any_text_comes_back_and_twice_is_once(text):
    once = redact(text)
    assert redact(once) == once


@pytest.mark.parametrize(
    "unit",
    [
        "a", "a ", "\\", '"', "password=", "password: ", 'password="', "password='\\", "://a:", "://a:b@", "eyJ", " \t",
        "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY-----\nAAAA\n", "é",
        "sk-", "token:", "a_", "--password ", "?a=", "Authorization: ", "Cookie: a=", "password\n", "xoxb-", "AKIA",
        "secret_key", "login a password ", "AKIAQWERTYUIOPASDFGH ", "A" * 64 + "\n", "name: PASSWORD value", "pass-",
    ],
)  # fmt: skip
def test_hostile_text_takes_linear_time(unit):
    small, large = (_seconds(unit * (size // len(unit))) for size in (100_000, 400_000))
    assert large < 3.0
    again = (_seconds(unit * (400_000 // len(unit))) for _ in range(2))  # something else may have had the processor
    assert any(seconds < 0.1 + 8 * small for seconds in (large, *again))


def test_a_megabyte_of_code_takes_less_than_a_second():
    text = Path(__file__).read_text("utf-8")
    assert _seconds(text * (1_000_000 // len(text))) < 5.0
    code = Path(json.__file__).with_name("decoder.py").read_text("utf-8")
    assert _seconds(code * (1_000_000 // len(code))) < 1.0


def _seconds(text):
    started = time.process_time()
    redact(text)
    return time.process_time() - started
