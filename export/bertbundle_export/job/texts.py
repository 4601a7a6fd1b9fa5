"""Real texts that an export is proved on, unless the user gives their own."""

PARITY_TEXTS = (
    "Barack Obama was born in Honolulu, Hawaii, and served as the 44th President of the United States.",
    "Apple opened its first office in Hyderabad in May 2016; Tim Cook flew in from Cupertino for the day.",
    "Please send the invoice to Maria Garcia, 27 Baker Street, Springfield, IL 62704, before Friday.",
    "The German chancellor met Emmanuel Macron in Paris on Tuesday to talk about the price of natural gas.",
    "I bought these headphones two weeks ago and the left side has already stopped working. Very disappointed!",
    "The soup was excellent, the service friendly, and we will certainly come back with the children.",
    "How do I reset my password if I no longer have access to my old e-mail address?",
    "Lionel Messi scored twice as Argentina beat France on penalties in Lusail.",
    "王建国毕业于清华大学计算机系，现任北京某科技有限公司董事长。",
    "1966年出生，汉族，中共党员，本科学历，工程师，美国国籍，无境外永久居留权。",
    "上海市浦东新区人民法院昨日开庭审理了这起合同纠纷案，原告李明要求赔偿50万元。",
    "这家餐厅的味道很好，服务员也非常热情，下次还会再来。",
    "华为技术有限公司在深圳发布了新款手机，任正非没有出席发布会。",
    "今天天气真不错，我们一起去颐和园划船吧！",
    "iPhone 15 Pro的价格是8999元，比去年贵了一点。",
    "OK",
)
