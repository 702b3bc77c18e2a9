"""Small sources over Boost's headers that are hardest to find the inputs of.

Preprocessor iteration includes files under computed names, a file may include itself again and again, and
limits raised by hand make Boost go through its own generators instead of headers that were preprocessed
beforehand. All compile with Debian's libboost-dev (``/usr/include/boost``).
"""

from __future__ import annotations

from typing import Final

NEEDS: Final = "/usr/include/boost/preprocessor.hpp"
FLAGS: Final = ("-std=gnu++14", "-w", "-I.")

UNITS: Final = {
    "file_iteration.cc": """\
#include <boost/preprocessor/iteration/iterate.hpp>
template <int> struct row;
#define BOOST_PP_ITERATION_LIMITS (1, 5)
#define BOOST_PP_FILENAME_1 "row.hpp"
#include BOOST_PP_ITERATE()
int sum() { return row<1>::value + row<5>::value; }
""",
    "self_iteration.cc": """\
#if !defined(BOOST_PP_IS_ITERATING) || !BOOST_PP_IS_ITERATING
#include <boost/preprocessor/iteration/iterate.hpp>
template <int> struct cell;
#define BOOST_PP_ITERATION_PARAMS_1 (4, (1, 3, "self_iteration.cc", 7))
#include BOOST_PP_ITERATE()
int last() { return cell<3>::value; }
#else
template <> struct cell<BOOST_PP_ITERATION()> { enum { value = BOOST_PP_ITERATION_FLAGS() }; };
#endif
""",
    "local_iteration.cc": """\
#include <boost/preprocessor/iteration/local.hpp>
#include <boost/preprocessor/slot/slot.hpp>
#define BOOST_PP_VALUE 3 + 4
#include BOOST_PP_ASSIGN_SLOT(1)
#define BOOST_PP_LOCAL_MACRO(n) int local_##n = n;
#define BOOST_PP_LOCAL_LIMITS (1, BOOST_PP_SLOT(1))
#include BOOST_PP_LOCAL_ITERATE()
""",
    "mpl_limits.cc": """\
#define BOOST_MPL_CFG_NO_PREPROCESSED_HEADERS
#define BOOST_MPL_LIMIT_VECTOR_SIZE 30
#define BOOST_MPL_LIMIT_LIST_SIZE 30
#define BOOST_MPL_LIMIT_MAP_SIZE 30
#include <boost/mpl/vector.hpp>
#include <boost/mpl/list.hpp>
#include <boost/mpl/map.hpp>
#include <boost/mpl/size.hpp>
int sizes = boost::mpl::size<boost::mpl::vector<char, int, long>>::value;
""",
    "mpl.cc": """\
#include <boost/mpl/vector.hpp>
#include <boost/mpl/transform.hpp>
#include <boost/mpl/fold.hpp>
#include <boost/mpl/placeholders.hpp>
#include <boost/mpl/plus.hpp>
#include <boost/mpl/int.hpp>
using namespace boost::mpl;
int total = fold<vector<int_<1>, int_<2>>, int_<0>, plus<_1, _2>>::type::value;
""",
    "function_bind.cc": """\
#define BOOST_FUNCTION_MAX_ARGS 12
#include <boost/function.hpp>
#include <boost/bind/bind.hpp>
#include <boost/lambda/lambda.hpp>
int twice(int n) { return n + n; }
int call() { boost::function<int(int)> f = boost::bind(twice, boost::placeholders::_1); return f(2); }
""",
    "variant.cc": """\
#define BOOST_MPL_CFG_NO_PREPROCESSED_HEADERS
#define BOOST_MPL_LIMIT_LIST_SIZE 30
#include <boost/variant.hpp>
#include <boost/any.hpp>
#include <boost/optional.hpp>
int which() { boost::variant<int, long, char> v(3L); return v.which(); }
""",
    "fusion.cc": """\
#define FUSION_MAX_VECTOR_SIZE 20
#include <boost/fusion/container.hpp>
#include <boost/fusion/algorithm.hpp>
#include <boost/fusion/adapted/struct.hpp>
#include <boost/fusion/sequence.hpp>
struct point { int x, y; };
BOOST_FUSION_ADAPT_STRUCT(point, (int, x)(int, y))
int first(point p) { return boost::fusion::at_c<0>(p); }
""",
    "phoenix.cc": """\
#define PHOENIX_LIMIT 12
#include <boost/phoenix/core.hpp>
#include <boost/phoenix/operator.hpp>
#include <boost/phoenix/bind.hpp>
int add() { using namespace boost::phoenix::placeholders; return (arg1 + arg2)(1, 2); }
""",
    "spirit.cc": """\
#include <boost/spirit/include/qi.hpp>
#include <string>
bool number(std::string const &text, int &n) {
    auto begin = text.begin();
    return boost::spirit::qi::parse(begin, text.end(), boost::spirit::qi::int_, n);
}
""",
    "typeof.cc": """\
#define BOOST_TYPEOF_EMULATION
#include <boost/typeof/typeof.hpp>
#include <boost/typeof/std/utility.hpp>
#include BOOST_TYPEOF_INCREMENT_REGISTRATION_GROUP()
BOOST_TYPEOF_REGISTER_TYPE(struct unregistered)
int type_of() { BOOST_TYPEOF(1 + 2) n = 3; return n; }
""",
    "proto.cc": """\
#define BOOST_PROTO_MAX_ARITY 8
#define BOOST_PROTO_DONT_USE_PREPROCESSED_FILES
#include <boost/proto/proto.hpp>
int terminal() { return boost::proto::value(boost::proto::lit(5)); }
""",
    "config.cc": """\
#define BOOST_USER_CONFIG "my_config.hpp"
#define BOOST_STDLIB_CONFIG <boost/config/stdlib/libstdcpp3.hpp>
#include <boost/config.hpp>
#include <boost/parameter.hpp>
#include <boost/type_erasure/any.hpp>
int configured = MY_CONFIG;
""",
}

HEADERS: Final = {
    "row.hpp": """\
#define ROW BOOST_PP_ITERATION()
template <> struct row<ROW> { enum { value = ROW }; };
#undef ROW
""",
    "my_config.hpp": "#define MY_CONFIG 1\n",
}
