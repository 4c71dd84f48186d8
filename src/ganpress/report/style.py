"""The look of the page and its few lines of script; everything works without the script."""

from __future__ import annotations

CSS = (
    """
:root{color-scheme:light dark;--page:#f7f7f5;--card:#fff;--ink:#161615;--soft:#5c5b57;
--line:#e4e3df;--grid:#ecebe7;--accent:#2a78d6;--pale:#d5e4f7;--warn:#8a5a00;--warnbg:#fdf3dd;
--c0:#2a78d6;--c1:#eb6834;--c2:#1baf7a;--c3:#eda100;--c4:#e87ba4;--c5:#4a3aa7}
@media(prefers-color-scheme:dark){:root{--page:#141413;--card:#1d1d1c;--ink:#f2f1ee;--soft:#a9a8a2;
--line:#333230;--grid:#2a2a28;--accent:#5a9bea;--pale:#26405f;--warn:#f0c677;--warnbg:#33280f;
--c0:#3987e5;--c1:#d95926;--c2:#199e70;--c3:#c98500;--c4:#d55181;--c5:#9085e9}}
*{box-sizing:border-box}
html{scroll-behavior:smooth}
@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
header,main{max-width:1080px;margin:0 auto;padding:0 24px}
header{padding-top:44px}
h1{font-size:2.1rem;line-height:1.15;margin:0 0 .35em;letter-spacing:-.02em;font-weight:650}
h2{font-size:1.3rem;margin:0 0 .8em;letter-spacing:-.01em;font-weight:620}
h3{font-size:1.05rem;margin:1.8em 0 .6em;font-weight:620}
h4{font-size:.9rem;margin:0;font-weight:600}
.eyebrow{margin:0 0 .4em;color:var(--soft);font-size:.8rem;letter-spacing:.04em}
.lead{font-size:1.15rem;margin:0;max-width:46em}
.when{color:var(--soft);font-size:.9rem;margin:.3em 0 0;font-weight:400}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:18px 0 0;font-size:.9rem}
a{color:var(--accent);text-decoration:none}
a:hover{text-decoration:underline}
section{margin:52px 0 0;scroll-margin-top:16px}
#headline{margin-top:26px}
main{padding-bottom:80px}
.tiles{list-style:none;margin:0;padding:0;display:grid;gap:12px;
grid-template-columns:repeat(auto-fit,minmax(178px,1fr))}
.tiles li{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:16px 18px}
.tiles strong{display:block;font-size:2.15rem;line-height:1.1;font-weight:640;
letter-spacing:-.025em}
.tiles span{display:block;margin-top:4px;font-weight:550}
.tiles small{display:block;color:var(--soft);font-size:.82rem;line-height:1.4;margin-top:3px}
.note{color:var(--soft);font-size:.83rem;margin:.6em 0 0}
.note:empty{display:none}
.missing{color:var(--warn);background:var(--warnbg);border-radius:8px;padding:8px 12px;
font-size:.88rem;margin:12px 0 0}
.badge{color:var(--warn);background:var(--warnbg);border-radius:99px;padding:2px 9px;
font-size:.75rem;font-weight:550}
.scroll{overflow-x:auto;overflow-wrap:normal}
.scroll code{white-space:nowrap}
table{border-collapse:collapse;width:100%;font-size:.92rem;background:var(--card);
border:1px solid var(--line);border-radius:10px;border-spacing:0}
caption{text-align:left;color:var(--soft);font-size:.83rem;padding:14px 0 6px}
th,td{padding:7px 14px;text-align:left;border-top:1px solid var(--grid);vertical-align:top}
thead th,thead td{border-top:0;color:var(--soft);font-weight:500;font-size:.83rem}
tbody th{font-weight:500}
.numeric td,.numeric thead th+th,.num,b[data-series]{font-variant-numeric:tabular-nums}
.numeric th+td,.numeric td+td,.numeric thead th:not(:first-child),.numeric thead td+th
{text-align:right}
data{white-space:nowrap}
table.widths{font-size:.86rem}
.widths th,.widths td{padding:4px 12px;vertical-align:middle}
.widths td:last-child,.widths thead th:last-child{text-align:left;width:46%}
.bar{display:block;position:relative;height:12px;min-width:80px}
.bar i,.bar b{position:absolute;left:0;top:0;height:100%;border-radius:0 4px 4px 0}
.bar i{background:var(--pale)}
.bar b{background:var(--accent)}
figure{margin:0}
img{display:block;max-width:100%;height:auto}
.pixels{image-rendering:pixelated}
.row{display:grid;grid-template-columns:repeat(var(--columns),1fr);gap:6px 12px;
margin-top:22px}
.row h4{grid-column:1/-1;color:var(--soft);font-weight:500}
.row img,.strip img{width:100%;border-radius:6px;background:var(--grid)}
.row figcaption,.strip figcaption{color:var(--soft);font-size:.8rem;margin-top:4px}
.zoom{all:unset;display:block;width:100%;border-radius:6px}
.js .zoom{cursor:zoom-in}
.zoom:focus-visible,a:focus-visible,summary:focus-visible{outline:2px solid var(--accent);
outline-offset:2px}
.strip{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(220px,45%),1fr));gap:12px;
margin:6px 0 16px}
article>h4{margin-top:18px}
.compare{max-width:460px;margin:0 auto}
.compare .stage{position:relative;width:100%;border-radius:10px;overflow:hidden;
background:var(--grid)}
.compare img{position:absolute;inset:0;width:100%;height:100%}
.compare img+img{clip-path:inset(0 calc(100% - var(--cut,50%)) 0 0)}
.compare .stage::after{content:"";position:absolute;top:0;bottom:0;left:var(--cut,50%);width:2px;
margin-left:-1px;background:#fff;box-shadow:0 0 0 1px #0006}
.compare label{display:flex;gap:12px;align-items:center;font-size:.85rem;color:var(--soft);
margin-top:8px}
.compare input{flex:1;min-width:0;accent-color:var(--accent)}
article{margin-bottom:34px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(400px,100%),1fr));gap:14px}
.chart{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px;
min-width:0}
.chart.wide{grid-column:1/-1}
.chart svg{display:block;width:100%;height:auto;margin-top:8px}
.chart table{border:0;font-size:.83rem}
.chart th,.chart td{padding:3px 10px 3px 0}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;margin:4px 0 0;padding:0;
font-size:.83rem;color:var(--soft)}
.legend i{display:inline-block;width:14px;height:3px;border-radius:2px;vertical-align:middle;
margin-right:6px}
.legend b{color:var(--ink);font-weight:550}
.grid{stroke:var(--grid)}
.axis{stroke:var(--line)}
.tick{fill:var(--soft);font-size:12px;font-variant-numeric:tabular-nums}
.cursor{stroke:var(--soft);visibility:hidden}
polyline{fill:none;stroke-linejoin:round;stroke-linecap:round}
.line{stroke-width:2}
.raw{stroke-width:1;opacity:.32}
"""
    + "".join(
        f"polyline.s{n}{{stroke:var(--c{n})}}i.s{n}{{background:var(--c{n})}}" for n in range(6)
    )
    + """
.panels{list-style:none;margin:8px 0 0;padding:0;display:grid;gap:12px 20px;
grid-template-columns:repeat(auto-fill,minmax(132px,1fr))}
.panels li{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 8px;font-size:.8rem}
.panels .name{white-space:nowrap;overflow:hidden;text-overflow:ellipsis;max-width:100%}
.panels .num{color:var(--soft);white-space:nowrap}
.panels svg{margin-top:2px}
details{margin-top:10px;font-size:.88rem}
summary{color:var(--soft);cursor:pointer;font-size:.83rem}
.copy{position:relative}
pre{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;
margin:8px 0;overflow-x:auto;white-space:pre-wrap;font-size:.84rem;line-height:1.5}
pre,code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{font-size:.95em}
.copy button,dialog button{font:inherit;font-size:.8rem;color:var(--ink);background:var(--page);
border:1px solid var(--line);border-radius:7px;padding:3px 10px;cursor:pointer}
.copy button{position:absolute;top:8px;right:8px}
dialog{border:0;padding:12px;border-radius:12px;background:var(--card);color:var(--ink);
max-width:96vw;max-height:96vh}
dialog::backdrop{background:#000b}
dialog img{width:min(88vw,80vh);max-height:80vh;object-fit:contain}
dialog form{float:right;margin:0 0 8px}
dialog p{margin:0 80px 8px 0;font-size:.88rem}
@media(max-width:600px){header,main{padding-left:16px;padding-right:16px}
header{padding-top:28px}h1{font-size:1.6rem}.tiles{grid-template-columns:1fr 1fr}
.row{grid-template-columns:1fr 1fr}
.tiles li:last-child:nth-child(odd){grid-column:1/-1}.tiles strong{font-size:1.6rem}
.tiles li{padding:12px 14px}th,td{padding:6px 8px}
.widths th,.widths td{padding:4px 6px}.widths td:last-child,.widths thead th:last-child{width:34%}
.bar{min-width:50px}.tick{font-size:14px}}
@media print{nav,.compare,.copy button{display:none}.chart,.row,.tiles li{break-inside:avoid}}
"""
)

SCRIPT = r"""
(function(){
var all=function(q,r){return Array.prototype.slice.call((r||document).querySelectorAll(q))};
document.documentElement.classList.add('js');
var box=document.querySelector('dialog'),pics=all('.zoom img'),at=0;
function show(n){at=(n+pics.length)%pics.length;
 var old=box.querySelector('img');if(old)old.remove();
 box.querySelector('p').textContent=pics[at].alt+'  (arrow keys: next picture)';
 var big=pics[at].cloneNode();big.removeAttribute('id');box.appendChild(big)}
all('.zoom').forEach(function(b,n){b.addEventListener('click',function(){
 show(n);if(box.showModal)box.showModal()})});
box.addEventListener('keydown',function(e){
 if(e.key==='ArrowRight'||e.key==='ArrowLeft'){e.preventDefault();
  show(at+(e.key==='ArrowRight'?1:-1))}});
box.addEventListener('click',function(e){if(e.target===box)box.close()});
all('.compare').forEach(function(c){
 var row=all('.row')[+c.dataset.row],stage=c.querySelector('.stage');
 ['student','teacher'].forEach(function(k){
  stage.appendChild(row.querySelector('.'+k+' img').cloneNode())});
 function cut(v){v=Math.max(0,Math.min(100,v));stage.style.setProperty('--cut',v+'%');
  c.querySelector('input').value=v}
 c.querySelector('input').addEventListener('input',function(e){cut(+e.target.value)});
 function drag(e){var r=stage.getBoundingClientRect();cut(100*(e.clientX-r.left)/r.width)}
 stage.addEventListener('pointerdown',drag);
 stage.addEventListener('pointermove',function(e){if(e.buttons||e.pointerType==='mouse')drag(e)});
 c.hidden=false});
all('.copy').forEach(function(c){var b=c.querySelector('button');b.hidden=!navigator.clipboard;
 b.addEventListener('click',function(){
  navigator.clipboard.writeText(c.querySelector('code').textContent).then(function(){
   b.textContent='Copied';setTimeout(function(){b.textContent='Copy'},1500)})})});
all('.chart>svg').forEach(function(s){
 var lines=all('.line',s).map(function(p){return{name:p.dataset.series,
  v:JSON.parse(p.dataset.values),x:p.getAttribute('points').split(' ').map(parseFloat)}});
 var labels=all('.legend b',s.parentNode),last=labels.map(function(b){return b.textContent});
 var cursor=s.querySelector('.cursor'),step=s.querySelector('.steptext'),word=step.textContent;
 s.addEventListener('pointermove',function(e){var r=s.getBoundingClientRect(),
  x=(e.clientX-r.left)/r.width*s.viewBox.baseVal.width;
  lines.forEach(function(l,n){var b=0;l.x.forEach(function(v,i){
   if(Math.abs(v-x)<Math.abs(l.x[b]-x))b=i});b=Math.min(b,l.v.length-1);
   labels[n].textContent=l.v[b][1];
   if(!n){cursor.setAttribute('x1',l.x[b]);cursor.setAttribute('x2',l.x[b]);
    step.textContent='step '+l.v[b][0].toLocaleString('en-GB');
    cursor.style.visibility='visible'}})});
 s.addEventListener('pointerleave',function(){cursor.style.visibility='hidden';
  step.textContent=word;labels.forEach(function(b,n){b.textContent=last[n]})})});
})();
"""
