"""Function words that carry no topic, by language. Content words, numbers and negations of duty stay."""

from __future__ import annotations

_PORTUGUESE = """
a à ao aos aquela aquelas aquele aqueles aquilo as às até com como da das de dela delas dele deles depois do dos e é
ela elas ele eles em entre era eram essa essas esse esses esta está estamos estão estar estas estava estavam este estes
eu foi fomos for foram fosse fossem fui há havia isso isto já lhe lhes lo la los las mais mas me mesmo meu meus minha
minhas muito na nas nem no nos nós nossa nossas nosso nossos num numa nuns numas o os ou para pela pelas pelo pelos por
porque pois qual quais quando que quê quem se seja sejam sem ser será serão seria seriam seu seus só sob sobre sua suas
são também te tem têm tenha tenham tenho ter terá terão teria teve tinha tinham tive toda todas todo todos tu tua tuas
um uma umas uns vai vamos vão você vocês vos onde então ainda assim aí ali aqui cada cujo cuja cujos cujas dessa dessas
desse desses desta destas deste destes disso disto nessa nessas nesse nesses nesta nestas neste nestes nisso nisto
daquele daquela daqueles daquelas naquele naquela pode podem posso devo deve devem fazer faz faço quero preciso
"""

_ENGLISH = """
a about above after again all also am an and any are as at be because been before being below between both but by can
could did do does doing down during each few for from further had has have having he her here hers him his how i if in
into is it its itself just me more most my no nor of off on once only or other our ours out over own same she should so
some such than that the their theirs them then there these they this those through to too under until up very was we
were what when where which while who whom why will with would you your yours must may might shall get got
"""

STOPWORDS: dict[str, frozenset[str]] = {
    "pt": frozenset(_PORTUGUESE.split()),
    "en": frozenset(_ENGLISH.split()),
}
