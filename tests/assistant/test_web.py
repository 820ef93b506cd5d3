import gzip
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.readable import readable
from assistant.web import Page, WebError, addresses, checked_url, fetch, is_public, site

Handler = Callable[[httpx2.Request], httpx2.Response]
PUBLIC = "93.184.215.14"


def resolver(**hosts: Sequence[str]) -> Callable[[str, int], object]:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return hosts.get(host.partition(".")[0], (PUBLIC,))

    return resolve


async def get(url: str, handler: Handler, **hosts: Sequence[str]) -> Page:
    return await fetch(url, resolve=resolver(**hosts), transport=httpx2.MockTransport(handler))  # type: ignore[arg-type]


def never(request: httpx2.Request) -> httpx2.Response:
    raise AssertionError(f"reached {request.url}")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "localhost",
        "169.254.169.254",
        "2852039166",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[2002:7f00:1::]",
        "[64:ff9b::a9fe:a9fe]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "[fec0::1]",
        "192.0.0.9",
        "ⓛocalhost",
    ],
)
async def test_this_machine_and_its_network_are_never_reached(host: str) -> None:
    with pytest.raises(WebError, match=r"never fetched from|is not known|cannot be read|no address"):
        await fetch(f"http://{host}/latest/meta-data", transport=httpx2.MockTransport(never))


@pytest.mark.parametrize("found", [("127.0.0.1",), (PUBLIC, "10.0.0.1"), ("::1", PUBLIC), ()])
async def test_a_name_that_leads_inside_is_refused(found: Sequence[str]) -> None:
    with pytest.raises(WebError, match=r"evil\.example is this machine or in a private network"):
        await get("https://evil.example/", never, evil=found)


async def test_a_name_cannot_turn_into_another_address_while_it_is_fetched() -> None:
    asked, reached = [], []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return (PUBLIC,) if len(asked) == 1 else ("127.0.0.1",)

    def handler(request: httpx2.Request) -> httpx2.Response:
        reached.append((request.url.host, request.headers["host"], request.extensions["sni_hostname"]))
        return httpx2.Response(200, text="hello")

    page = await fetch("https://docs.example/a?b#c", resolve=rebinding, transport=httpx2.MockTransport(handler))
    assert page.text == "hello"
    assert (asked, reached) == (["docs.example"], [(PUBLIC, "docs.example", "docs.example")])


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("http://169.254.169.254/", "another site"),
        ("//other.example/x", r"another site; fetch https://other\.example/x"),
        ("https://docs.example:8443/", "another site"),
        ("file:///etc/passwd", "no address of a page"),
        ("/again", "5 redirects were followed"),
    ],
)
async def test_redirects_are_checked(target: str, said: str) -> None:
    with pytest.raises(WebError, match=said):
        await get("https://docs.example/", lambda _: httpx2.Response(302, headers={"location": target}))


async def test_a_redirect_to_the_same_name_is_resolved_and_checked_again() -> None:
    found = iter([(PUBLIC,), ("127.0.0.1",)])

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return next(found)

    transport = httpx2.MockTransport(lambda _: httpx2.Response(301, headers={"location": "/b"}))
    with pytest.raises(WebError, match="private network"):
        await fetch("https://docs.example/a", resolve=rebinding, transport=transport)


async def test_redirects_within_a_site_are_followed() -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.url.scheme == "http":
            return httpx2.Response(308, headers={"location": f"https://docs.example{request.url.path}"})
        return httpx2.Response(200, text="x = 1", headers={"content-type": "text/x-python"})

    page = await get("http://docs.example/x.py", handler)
    assert page == Page("https://docs.example/x.py", "text/x-python", "x = 1")


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (httpx2.Response(404, text="no"), "answered 404 Not Found"),
        (httpx2.Response(200, content=b"\x89PNG", headers={"content-type": "image/png"}), "is image/png, not text"),
        (httpx2.Response(200, content=b"\0\1", headers={"content-type": "text/plain"}), "is not text"),
        (
            httpx2.Response(200, stream=httpx2.ByteStream(gzip.compress(b"x")), headers={"content-encoding": "gzip"}),
            "compressed",
        ),
    ],
)
async def test_what_is_no_page_says_so(response: httpx2.Response, said: str) -> None:
    with pytest.raises(WebError, match=said):
        await get("https://docs.example/", lambda _: response)


async def test_a_page_is_read_up_to_a_size_and_by_its_charset() -> None:
    large = await get("https://docs.example/", lambda _: httpx2.Response(200, content=b"x" * 2_000_001))
    assert (len(large.text), large.cut) == (2_000_000, True)
    kind = {"content-type": 'text/html; charset="windows-1252"'}
    assert (await get("https://a.example", lambda _: httpx2.Response(200, content=b"\x80", headers=kind))).text == "€"
    odd = {"content-type": "text/plain; charset=nonsense"}
    assert (await get("https://a.example", lambda _: httpx2.Response(200, content=b"\xff", headers=odd))).text == "�"


async def test_the_next_address_is_tried() -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == PUBLIC:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(200, text=request.url.host)

    assert (await get("http://two.example/", handler, two=(PUBLIC, "2606:4700::1"))).text == "2606:4700::1"
    with pytest.raises(WebError, match=r"cannot be read .*refused"):
        await get("http://one.example/", handler)


@pytest.mark.parametrize("url", ["ftp://a.example", "a.example", "https://", "https://u:p@a.example/", "http://a:x/"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(WebError):
        checked_url(url)


def test_leave_is_for_a_site() -> None:
    assert site(checked_url("http://A.example/x")) == site(checked_url("https://a.example:443/y?z")) == "a.example"
    assert site(checked_url("http://a.example:8080/x")) == "a.example:8080"
    assert site(checked_url("https://аpple.com:443/")) == "xn--pple-43d.com"
    with pytest.raises(WebError, match=r"no name of a host"):
        checked_url("http://a.example evil/")


@given(st.ip_addresses())
def test_what_is_public_is_no_special_network(ip: IPv4Address | IPv6Address) -> None:
    if is_public(str(ip)):
        assert not any((ip.is_private, ip.is_loopback, ip.is_link_local, ip.is_multicast))


async def test_numbers_are_addresses_in_any_spelling() -> None:
    assert await addresses("2130706433", 80) == ["127.0.0.1"]


def test_html_as_text() -> None:
    page = (
        "<!DOCTYPE html><html><head><title>The  title</title><style>p {}</style><script>if (a < b) x()</script></head>"
        "<body><nav><a href='/up'>Up</a> <a href='#x'>here</a> <a href='javascript:x()'>no</a></nav>"
        "<h2>Head &amp; <em>more</em></h2><p>One\n  two<br>three</p><ul><li>a<li>b</ul>"
        "<pre>def f():\n    return '&lt;x&gt;'</pre><table><tr><td>1<td>2</table>"
        "<svg><text>hidden</text></svg>end</body>"
    )
    assert readable(page, "https://docs.example/a/b") == (
        "# The title\n\n[Up](https://docs.example/up) here no\n\n## Head & more\n\nOne two\nthree\n\n- a\n- b\n\n```\n"
        "def f():\n    return '<x>'\n```\n\n| 1 | 2\nend"
    )


@given(st.text("<>/!-apre scipt\"'=&;#x\n", max_size=300))
def test_any_text_is_read_as_html(text: str) -> None:
    assert isinstance(readable(f"{text}"), str)
    assert "kept" in readable(f"<p>kept</p>{text}")


@pytest.mark.parametrize(
    "piece", ["<", "<!--", "<a ", "<a b='", '<a b=">', "</script", "<script>", "&", "</", "<![CDATA[", "&#1", "<p\n"]
)
def test_a_hostile_page_takes_no_longer_than_another(piece: str) -> None:
    started = time.process_time()
    readable((f"<pre>{piece * 200_000}")[:200_000])
    assert time.process_time() - started < 2
    readable("&#" + "1" * 10_000)
