"""What is found in a small file of each language."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.apart import Apart
from assistant.workspace.languages import _SUFFIXES
from assistant.workspace.tags import QUERIES, from_wire, tagged, tags_here, tags_of

SNIPPETS = {
    "a.py": (
        '''import os
from base import Base, other as o

LIMIT = 3


@decorated
class Shop(Base, metaclass=Meta):
    """Sells."""

    @property
    def price(self) -> Money:
        def inner():
            pass
        return compute(self.stock.total())


async def main(x: list[Item]): ...
''',
        "constant LIMIT 4-4, class Shop 7-15, method Shop.price 11-15, function Shop.price.inner 13-14, "
        "function main 18-18",
        "Base other decorated property Money compute .total Item",
    ),
    "a.js": (
        """import { api, helper as h } from "./api";
export const LIMIT = 3;
export default class Cart extends Base {
  #items = [];
  add(item) { this.save(item); return new Line(item); }
  later = () => { h(); };
}
const total = (x) => api.sum(x);
exports.run = function () {};
function* walk() {}
""",
        "constant LIMIT 2-2, class Cart 3-7, method Cart.add 5-5, method Cart.later 6-6, function total 8-8, "
        "function run 9-9, function walk 10-10",
        "api helper Base .save Line h .sum",
    ),
    "a.ts": (
        """export interface Shape { area(): number; }
type Id = string;
export enum Kind { A }
namespace Geo { export function far(a: Point): Shape { return make(a); } }
@injectable()
export abstract class Square implements Shape {
  private side: Side;
  abstract grow(): void;
  area(): number { return this.side.square(); }
}
export const build = async (id: Id) => new Square(id);
declare function outer(x: Id): void;
""",
        "interface Shape 1-1, method Shape.area 1-1, type Id 2-2, enum Kind 3-3, module Geo 4-4, "
        "function Geo.far 4-4, class Square 5-10, method Square.grow 8-8, method Square.area 9-9, "
        "function build 11-11, function outer 12-12",
        "Point make injectable Side .square Square",
    ),
    "a.tsx": (
        "export function Page(props: Props) { return <Layout><Card title={format(1)} /></Layout>; }\n",
        "function Page 1-1",
        "Props Layout Card format",
    ),
    "a.go": (
        """package shop

type Cart struct { items []Item }
type (
	Store interface { Save(c *Cart) error }
	Id string
)
const Max = 3
var started = clock.Now()

func (c *Cart) Add(i Item) { c.store.Put(wrap(i)) }
func New[T any](s Store) *Cart { return &Cart{} }
""",
        "struct Cart 3-3, interface Store 5-5, type Id 6-6, constant Max 8-8, variable started 9-9, "
        "method Cart.Add 11-11, function New 12-12",
        "Item .Now .Put wrap",
    ),
    "a.rs": (
        """use crate::base::{Shape, helper};
#[derive(Debug)]
pub struct Square<T> { side: Side }
pub trait Grow { fn grow(&self) -> u8; }
impl<T> Grow for Square<T> {
    #[inline]
    fn grow(&self) -> u8 { helper(self.side.double()); Kind::make(); log!("x"); 1 }
}
enum Kind { A }
mod inner { pub fn deep() {} }
macro_rules! log { () => {} }
const MAX: u8 = 3;
""",
        "struct Square 2-3, trait Grow 4-4, method Grow.grow 4-4, method Square.grow 6-7, enum Kind 9-9, "
        "module inner 10-10, function inner.deep 10-10, macro log 11-11, constant MAX 12-12",
        "Shape helper Side .double make log",
    ),
    "A.java": (
        """package a;
import a.b.Thing;
@Service
public class Shop extends Base implements Api {
  static final int MAX = 3;
  enum Kind { A }
  Shop(Clock clock) { super(); }
  @Override public Money price(Item item) { return Calc.of(item).round(); }
}
interface Api { Money price(Item item); }
record Pair(int a) {}
""",
        "class Shop 3-9, constant Shop.MAX 5-5, enum Shop.Kind 6-6, method Shop.Shop 7-7, method Shop.price 8-8, "
        "interface Api 10-10, method Api.price 10-10, class Pair 11-11",
        "Thing Service Base Clock Money Item Calc of round Override",
    ),
    "a.c": (
        """#include "b.h"
#define LIMIT 3
#define MIN(a, b) less(a, b)
struct point { int x; };
typedef struct point point_t;
enum kind { A };
static char *name(point_t *p) { return copy(p->text); }
int declared(struct other *o);
""",
        "macro LIMIT 2-2, macro MIN 3-3, struct point 4-4, type point_t 5-5, enum kind 6-6, function name 7-7, "
        "declaration declared 8-8",
        "copy other point_t",
    ),
    "a.cpp": (
        """namespace geo {
class Shape : public Base {
 public:
  virtual double area() const;
  void grow(Size s) { helper(s); }
};
template <typename T> struct Box { T value; };
}
double geo::Shape::area() const { return std::max(width(), 1); }
using Id = std::string;
int main() { return run<Shape>(); }
""",
        "class geo.Shape 2-6, declaration geo.Shape.area 4-4, method geo.Shape.grow 5-5, struct geo.Box 7-7, "
        "method geo.Shape.area 9-9, type Id 10-10, function main 11-11",
        "Base Size helper max width run",
    ),
    "A.cs": (
        """namespace N;
[Serializable]
public class Shop<T> : Base, IShape {
  const int Max = 3;
  public Shop(Clock c) { }
  public double Area() => Helper.Calc(new List<Item>());
  public Money Price { get; set; }
}
public interface IShape { double Area(); }
struct P { }
enum Kind { A }
record R(int X);
""",
        "class Shop 2-8, field Shop.Max 4-4, method Shop.Shop 5-5, method Shop.Area 6-6, property Shop.Price 7-7, "
        "interface IShape 9-9, method IShape.Area 9-9, struct P 10-10, enum Kind 11-11, class R 12-12",
        "Serializable Base IShape Clock Helper Calc List Item Money",
    ),
    "a.rb": (
        """module Shop
  MAX = 3
  class Cart < Base
    def add(item)
      validate(item).save
    end
    def self.build = new
  end
end
""",
        "module Shop 1-9, constant Shop.MAX 2-2, class Shop.Cart 3-8, method Shop.Cart.add 4-6, "
        "method Shop.Cart.build 7-7",
        "Base validate save",
    ),
    "a.php": (
        """<?php
namespace App;
use Foo\\Bar;
const LIMIT = 3;
#[Attr]
class Cart extends Base implements I {
  use T;
  public function add(Item $i): Result { $this->save($i); Foo::make(); helper(1); return new Thing(); }
}
interface I { public function add(Item $i); }
trait T { }
enum E: string { case A = 'a'; }
function helper(int $a) { return 1; }
""",
        "constant LIMIT 4-4, class Cart 5-9, method Cart.add 8-8, interface I 10-10, method I.add 10-10, "
        "trait T 11-11, enum E 12-12, function helper 13-13",
        "Bar Attr Base Item Result save Foo make helper Thing",
    ),
    "a.kt": (
        """package a.b
import a.c.Thing
typealias Id = String
const val MAX = 3

@Anno
data class Point(val x: Int) : Base(x), Shape {
    val size = measure(x)
    override fun area(): Double {
        return helper(x).toDouble()
    }
}
interface Shape {
    fun area(): Double
}
object Registry {
    val items = listOf<Item>()
}
fun String.shout(n: Int): String = uppercase()
""",
        "type Id 3-3, constant MAX 4-4, class Point 6-12, property Point.size 8-8, method Point.area 9-11, "
        "interface Shape 13-15, method Shape.area 14-14, object Registry 16-18, property Registry.items 17-17, "
        "function shout 19-19",
        "Thing Anno Base measure helper toDouble Item uppercase",
    ),
    "a.swift": (
        """import Foundation
typealias Id = String
let limit = 3
protocol Shape { func area() -> Double }
@MainActor
class Square: Base, Shape {
  let side: Side
  init(side: Side) { self.side = side }
  func area() -> Double { return helper(side).rounded() }
}
struct P { }
enum Color { case red }
extension Square { func twice() -> Thing { make(1) } }
func helper(_ x: Double) -> Double { x }
""",
        "type Id 2-2, constant limit 3-3, interface Shape 4-4, method Shape.area 4-4, class Square 5-10, "
        "property Square.side 7-7, method Square.init 8-8, method Square.area 9-9, struct P 11-11, enum Color 12-12, "
        "method Square.twice 13-13, function helper 14-14",
        "MainActor Base Side Shape helper rounded Thing make",
    ),
    "a.sh": (
        """#!/bin/sh
ROOT=/srv
export PORT=1
build() {
  compile "$ROOT"
}
function deploy { build; }
""",
        "variable ROOT 2-2, variable PORT 3-3, function build 4-6, function deploy 7-7",
        "compile ROOT build",
    ),
}


@pytest.fixture(scope="module")
def apart():
    made = Apart()
    yield made
    made.close()


@pytest.mark.parametrize("path", SNIPPETS)
def test_definitions_and_references(path, apart):
    text, definitions, references = SNIPPETS[path]
    tags = tags_of(path, text, apart)
    assert ", ".join(f"{d.kind} {d.qualified} {d.first}-{d.last}" for d in tags.definitions) == definitions
    assert not set(references.split()) - tags.references.keys()
    for one in tags.definitions:
        whole = text.encode()[one.start : one.end].decode()
        assert one.name in whole
        assert whole == whole.strip()
        assert one.first <= one.line <= one.last
        assert text.split("\n")[one.line - 1].lstrip().startswith(one.signature.lstrip()[:3])


def test_every_language_with_queries_has_a_snippet_and_its_names_are_not_data():
    assert {tagged(path) for path in SNIPPETS} == {path.stem for path in QUERIES.glob("*.scm")}
    assert {tagged(f"a{suffix}") for suffix in _SUFFIXES} - {tagged(path) for path in SNIPPETS} == {None}


ODD = [
    ("a.py", "type Id = int\nX, Y = 1, 2\ndef f(): ...\n", "Id X Y f"),
    ("a.js", "module.exports = { foo() {}, bar: function () {}, baz: () => 1 };\n", "foo bar baz"),
    ("a.ts", "export namespace A.B { export class C {} }\n", "A.B A.B.C"),
    ("a.go", "package a\nvar (\n\tp, q = 1, 2\n\tr int\n)\n", "p q r"),
    ("A.java", "class A {\n  static final int X = 1, Y = 2;\n}\n", "A A.X A.Y"),
    ("a.c", "typedef struct named { int a; } named_t;\ntypedef int (*fp)(int);\n", "named_t named fp"),
    ("a.c", "#ifndef H\nint declared(void);\n#endif\nint f(void) { int local(int); return 0; }\n", "declared f"),
    ("a.h", '#ifndef A\nextern "C" {\nint g(int);\n}\nclass B { B(); ~B(); };\n#endif\n', "g B B.B B.~B"),
    ("a.cpp", "namespace a::b { class C { int f(); }; }\nint a::b::C::f() {}\n", "a.b.C a.b.C.f a.b.C.f"),
    ("a.cpp", "template <class T> void X<T>::h() {}\ntemplate <> int m<int>(int a) {}\n", "X.h m"),
    ("a.rb", "module A::B\n  def f; end\nend\n", "A.B A.B.f"),
    ("a.kt", "enum class E {\n  A,\n  B;\n  fun f() {}\n}\n", "E E.f"),
    ("a.swift", "let a = 1, b = 2\nextension C {\n  func f() {}\n}\n", "a b C.f"),
]


@pytest.mark.parametrize(("path", "text", "names"), ODD)
def test_definitions_that_stand_in_others_or_beside_them(path, text, names, apart):
    assert [one.qualified for one in tags_of(path, text, apart).definitions] == names.split()


def test_a_use_is_told_by_its_first_line(apart):
    text = "".join(f"f()\ng{n}()\n" for n in range(40))
    references = tags_of("a.py", text, apart).references
    assert references["f"] == (40, 1)
    assert [references[f"g{n}"][1] for n in range(40)] == [2 * n + 2 for n in range(40)]


def test_signatures_and_counts(apart):
    tags = tags_of(
        "a.py",
        "class A(\n    B,\n):  # note\n    # a\n    def f(\n        self, x: int\n    ) -> None:\n        g(); g()\n",
        apart,
    )
    assert [one.signature for one in tags.definitions] == ["class A(B, ):", "    def f(self, x: int ) -> None:"]
    assert tags.references["g"] == (2, 8)
    assert tags.names == (".f", "A")


def test_what_breaks_or_is_strange_is_read_as_far_as_it_goes(apart):
    tags = tags_of("a.py", "def whole():\n    pass\n\ndef broken(:\n\nclass Later:\n    pass\n", apart)
    assert {"whole", "Later"} <= {one.name for one in tags.definitions}
    assert tags_of("a.py", "x = " + "(" * 3_000, apart).definitions is not None
    assert apart.call("tags", [["python", "def f(): pass"]]), "the process is there, or a new one is"
    assert tags_of("a.txt", "def f(): pass", apart) == tags_of("a.py", "x" * 1_000_001, apart)
    nested = "".join(f"{' ' * depth}class C{depth}:\n" for depth in range(90)) + " " * 90 + "pass\n"
    assert tags_of("a.py", nested, apart).definitions[-1].qualified.endswith("C87.C88.C89")


def test_many_comments_before_a_body_take_no_time(apart):
    """Looking back over all of them would take a minute, and the process has five seconds."""
    assert tags_of("a.js", "function f() " + "/* */" * 50_000 + "{}", apart).names == ("f",)


@settings(max_examples=40, deadline=None)
@given(st.text("defclas :()\n\t@x.é{}=\"'", max_size=120), st.sampled_from(sorted(SNIPPETS)))
def test_offsets_lie_in_any_text(text, path):
    data = text.encode()
    tags = from_wire(tags_here([(tagged(path), text)])[0])
    for one in tags.definitions:
        assert 0 <= one.start < one.end <= len(data)
        assert data[one.start : one.end].decode().strip()
