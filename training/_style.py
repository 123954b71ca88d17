"""The look of the report page: no fonts, scripts or files from elsewhere, light and dark, phone and desk."""

STYLE = """
:root{--paper:#fbfbfd;--card:#fff;--ink:#1c1b22;--soft:#63616e;--edge:#e3e1ea;--main:#6b3fd4;--path:#a9a4bd;
--good:#157347;--good-paper:#e6f4ec;--bad:#b3261e;--bad-paper:#fbeae9}
@media(prefers-color-scheme:dark){:root{--paper:#141319;--card:#1d1b24;--ink:#eceaf3;--soft:#a5a1b3;--edge:#35323f;
--main:#b497ff;--path:#6d6880;--good:#6fd39c;--good-paper:#16301f;--bad:#ff9d94;--bad-paper:#3a1a18}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.25rem}
h1{font-size:1.9rem;line-height:1.2;margin:.1rem 0 .3rem}
h2{font-size:1.2rem;margin:2.2rem 0 .6rem}
p{margin:.3rem 0}
header{border-radius:.8rem;padding:1.1rem 1.3rem;border-left:.45rem solid}
header.good{background:var(--good-paper);border-color:var(--good)}header.good h1{color:var(--good)}
header.bad{background:var(--bad-paper);border-color:var(--bad)}header.bad h1{color:var(--bad)}
.what{color:var(--soft);font-size:.9rem}
.reasons{list-style:none;padding:0;margin:1rem 0}
.reasons li{display:flex;gap:.7rem;padding:.45rem 0;border-bottom:1px solid var(--edge)}
.mark{flex:none;width:1.2rem;font-weight:700}.good>.mark{color:var(--good)}.bad>.mark{color:var(--bad)}
.next{background:var(--card);border:1px solid var(--edge);border-radius:.8rem;padding:.8rem 1rem}
.tiles{display:grid;grid-template-columns:repeat(3,1fr);gap:.7rem;margin:1.2rem 0}
.tiles div{background:var(--card);border:1px solid var(--edge);border-radius:.8rem;padding:.7rem .9rem;display:flex;
flex-direction:column}
.tiles span,.tiles small{color:var(--soft);font-size:.82rem}
.tiles b{font-size:1.45rem;font-variant-numeric:tabular-nums}
figure{margin:0 0 1.2rem;background:var(--card);border:1px solid var(--edge);border-radius:.8rem;padding:.9rem 1rem}
figcaption{display:flex;flex-wrap:wrap;gap:.2rem 1rem;justify-content:space-between;margin-bottom:.6rem}
.legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:.82rem;color:var(--soft)}
.legend i{display:inline-block;width:.8rem;height:.25rem;border-radius:.2rem;margin-right:.35rem;vertical-align:middle}
.note{font-size:.86rem;color:var(--soft);margin:.5rem 0 0}
.chart{position:relative;margin-left:3.6rem;padding-bottom:1.5rem}
.chart svg{display:block;width:100%;height:15rem;overflow:visible}
.chart svg *{vector-effect:non-scaling-stroke}
.y,.x{font-size:.76rem;color:var(--soft);font-variant-numeric:tabular-nums}
.y span{position:absolute;right:100%;transform:translate(-.5rem,-50%);white-space:nowrap}
.y{position:absolute;inset:0 auto 1.5rem 0;width:0}
.x{position:absolute;left:0;right:0;bottom:0;height:1.1rem}
.x span{position:absolute;transform:translateX(-50%);white-space:nowrap}
.grid{stroke:var(--edge);stroke-width:1}.zero{stroke:var(--soft);stroke-width:1}
.line{fill:none;stroke:var(--c);stroke-width:1.6;stroke-linejoin:round}
.dots{fill:none;stroke:var(--c);stroke-width:6;stroke-linecap:round}
.rule{stroke:var(--c);stroke-width:2;stroke-dasharray:6 4}
.bars rect{fill:var(--c)}
.ranking{list-style:none;margin:0;padding:0;font-size:.86rem}
.ranking li{display:flex;align-items:center;gap:.6rem;padding:.12rem 0}
.ranking span{flex:0 0 13rem;overflow-wrap:anywhere}.ranking i{height:.7rem;background:var(--main);border-radius:.2rem}
.ranking b{font-weight:500;color:var(--soft);font-variant-numeric:tabular-nums;white-space:nowrap}
.table{overflow-x:auto;border:1px solid var(--edge);border-radius:.8rem;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.5rem .8rem;border-bottom:1px solid var(--edge);white-space:nowrap}
th{color:var(--soft);font-weight:600}tr:last-child td{border-bottom:0}
td:first-child,th:first-child{color:var(--soft)}
.pairs td{white-space:normal;vertical-align:top}.pairs td:first-child{width:9rem}
dt{font-weight:600}dd{margin:0 0 .6rem;color:var(--soft)}
@media(max-width:36rem){main{padding:.7rem}h1{font-size:1.55rem}.chart{margin-left:2.9rem}.chart svg{height:12rem}
.tiles{grid-template-columns:repeat(2,1fr)}.pairs td:first-child{width:6.5rem}.x span:nth-child(even){display:none}
.ranking span{flex-basis:8.5rem}}
"""
