zone ${zone}
  rate ${rate}
